"""The dashboard: `xai dashboard`, or `streamlit run app.py`."""

from xai.dashboard.server.router import run

run()

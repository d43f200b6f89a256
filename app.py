"""The dashboard: `xai dashboard`, or `streamlit run app.py`."""

from xai.dashboard.router import run

run()

"""What `xai dashboard` hands to Streamlit; `app.py` is the same for a checkout."""

from xai.dashboard.router import run

run()

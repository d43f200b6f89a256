"""The dashboard: pages of Streamlit that use nothing but the public names of `xai`."""

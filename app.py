"""rmviz: see what reward models want. The frame around every page."""

import streamlit as st

from rmviz.errors import RmvizError
from rmviz.ui import frame, pickers, router, style

# the icon comes before the navigation: a browser would fetch the page's own icon from the network
st.set_page_config(page_icon=str(router.ROOT / "assets" / "logo.svg"), layout="wide", initial_sidebar_state=220)
router.enter()
page = router.build()
st.set_page_config(page_title=f"{page.title} · rmviz")
pickers.turn_page(page.url_path)
style.apply()
frame.sidebar(router.workspace())
try:
    page.run()
except RmvizError as error:
    frame.problem(error)
frame.settle()

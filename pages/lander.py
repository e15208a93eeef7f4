"""Lander: from a reward to the policy that it asks for, exactly, on a map that can be read at a glance."""

import streamlit as st

from rmviz.ui import lander, router

router.guard()
st.title("Lander")
st.markdown(
    "A reward says what to prize; what gets done is the policy that it asks for. Here both are known exactly: move the price "
    "of a step, and see the best flight turn from careful to reckless."
)
lander.fly()

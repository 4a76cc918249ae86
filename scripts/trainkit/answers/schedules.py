"""What each schedule does, and why it should help, by the sources named."""

EXPLANATIONS = {
    "constant": "one learning rate throughout: the control",
    "step": "drops tenfold at half and at three quarters, as He et al. 2015 trained their ResNets",
    "exponential": "falls by the same ratio each step",
    "cyclical": "rises and falls linearly several times (Smith 2017, arXiv 1506.01186)",
    "cosine": "half a cosine down to zero (Loshchilov and Hutter 2017, arXiv 1608.03983)",
    "cosine-restarts": "half a cosine down to zero, again and again (Loshchilov and Hutter 2017)",
    "one-cycle": "rises once, then falls far below its start (Smith and Topin 2018, arXiv 1708.07120)",
    "triangle": "rises and falls along straight lines (Page 2019; Jordan 2024)",
    "linear": "a straight line to zero (Li et al. 2020, arXiv 1905.04753)",
    "rex": "stays high longer than a line, then falls faster (Chen et al. 2022, arXiv 2107.04197)",
    "warmup-stable-decay": "rises, stays, and falls at the end alone (Hu et al. 2024, arXiv 2404.06395)",
    "plateau": "drops when validation loss no longer improves",
}

REASONS = {
    "constant": "nothing: it keeps the noise of large steps to the end",
    "step": "large steps cross the landscape, small ones then settle",
    "exponential": "the step shrinks with the distance that is left, and never waits",
    "cyclical": "rising again leaves sharp minima, and no single rate must be right",
    "cosine": "long high, then gently to zero, without a drop's place to choose",
    "cosine-restarts": "each restart explores anew from what the last one found",
    "one-cycle": "a warm-up allows a high peak, which regularises, and the end settles",
    "triangle": "as one-cycle, along straight lines",
    "linear": "noise falls in proportion to the budget that is left",
    "rex": "as linear, with more time at high rates",
    "warmup-stable-decay": "most of the time at the full rate, which can end at any moment",
    "plateau": "the drop waits until the present rate brings nothing more",
}

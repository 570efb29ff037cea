"""Feature similarity training (Hu et al., CVPR 2023, section 3.4): HR first, then LR + CReFF from it."""

"""How good labels are: against the truth on real bitstreams, or against HR on every frame. Without PyTorch."""

"""What the commands ``bench``, ``probe``, ``verify`` and ``doctor`` report; none of it lies on the way of the data."""

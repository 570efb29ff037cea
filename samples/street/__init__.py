"""A procedural street, drawn with the exact class of every pixel.

World coordinates are in metres: x to the right, y up, z along the street.
"""

"""Eight bits: a bundle's float networks become networks of bytes, by ``onnxruntime.quantization``; needs onnx alone.

=====================  ================================================================================
``quantize_bundle.py``  the order of events
``samples.py``          frames, and pairs of a frame and its keyframe, out of sources
``float_graph.py``      a graph made ready: folded, and in operators that have an eight-bit form
``ranges.py``           the ranges of a graph's values over the frames, by several methods
``equalise.py``          channels of a value brought to equal ranges
``qdq.py``              QuantizeLinear and DequantizeLinear put around the layers
``search.py``           which method, and which layers stay float
``byte_ends.py``         the image and the feature handed on as bytes
``golden_values.py``    what ``arseg-edge verify`` expects of the result
=====================  ================================================================================
"""

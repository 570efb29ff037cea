"""A finished ONNX model to a bundle with HR alone; needs onnx, and nothing of PyTorch.

``convert_onnx.py`` is the order of events. The model is read (``given_model.py``) and run as it is, with whatever must
be known beside it (``beside.py``, ``request.py``), to see what it takes and gives (``looking.py``, ``probing.py``,
``image_input.py``, ``class_output.py``, ``tail.py``). Its graph gets ends in ONNX (``front.py``, ``back.py``,
``graph.py``), and is compared with the model in a session of its own, between ends in NumPy (``comparing.py``,
``reference.py``).
"""

"""A classifier as other tools read it: a plain ResNet, ONNX, int8."""

"""Files to deploy a published model with TensorFlow Serving's own server."""

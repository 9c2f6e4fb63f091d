"""The embedded server: a documented, TF-Serving-compatible subset over REST and gRPC.

One process, one event loop. `versions` watches the model folders and lends loaded versions,
`batching` joins requests, `predictor` is what both protocols call, `rest` and `rpc` are the
protocols, `page` is for people. Every model runs in TensorFlow's C++ session.
"""

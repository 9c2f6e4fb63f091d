"""Networks as functions of one parameter vector."""

from tf_mixed_nash.models.mlp import mlp
from tf_mixed_nash.models.network import Network

__all__ = ["Network", "mlp"]

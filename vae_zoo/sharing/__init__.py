"""Models that one hands on: exported with a card, and found in a folder, on the web, or on the Hugging Face Hub."""

from vae_zoo.sharing.export import Exported, export
from vae_zoo.sharing.graphs import Graph, Pictures, graphs_of
from vae_zoo.sharing.hub import push
from vae_zoo.sharing.places import find

__all__ = ["Exported", "Graph", "Pictures", "export", "find", "graphs_of", "push"]

"""From a network to a bundle that is proven."""

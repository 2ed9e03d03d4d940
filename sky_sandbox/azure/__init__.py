"""Azure Resource Manager on loopback: a store of resources and the virtual machines among them."""

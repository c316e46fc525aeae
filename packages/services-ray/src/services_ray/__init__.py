"""The Ray backend of services-core, from one machine to a cluster."""

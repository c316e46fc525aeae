"""One registry API for the services that the workers of a job share, over any backend."""

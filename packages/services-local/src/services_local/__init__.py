"""The one-machine, multi-process backend of services-core."""

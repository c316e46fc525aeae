"""The promises of the registry, one module a topic; `RegistryConformance` puts them together."""

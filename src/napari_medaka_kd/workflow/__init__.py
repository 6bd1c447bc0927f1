"""The verbs on a project: what both skins call. Each reads only what the former left on disk."""

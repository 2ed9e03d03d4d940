"""Container images on the machine: pulled and unpacked, entered, or given to Docker or Podman where these work."""

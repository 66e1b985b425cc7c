"""A local stand-in for the Hugging Face Hub and its Spaces, for rehearsals and tests on loopback."""

"""How the world reaches us: thin."""

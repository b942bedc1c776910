"""The commands that talk to a running server: sign in, deploy, watch, look back."""

"""What a deployment is: plain Python, no input or output, no clock, no framework."""

"""What is learned from and with: dialogues and their tokens, the public base model, learning and measuring."""

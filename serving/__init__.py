"""The serving program: a page around a trained model. Imports chatfed, never training."""

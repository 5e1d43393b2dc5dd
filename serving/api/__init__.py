"""An HTTP API that programs written for OpenAI's speak to unchanged."""

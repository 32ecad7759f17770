"""A run's model as GGUF files for llama.cpp and Ollama: written, read back and compared."""

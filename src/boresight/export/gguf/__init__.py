"""Write a run's model as GGUF files for llama.cpp and Ollama, read them back, and compare them with it."""

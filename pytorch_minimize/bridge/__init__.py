"""Between the tensors of a model and one flat vector, in C++ and in plain Python."""

"""Search for the best hyper-parameters of a model, judged by figures of the validation."""

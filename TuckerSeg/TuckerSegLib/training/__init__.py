"""Networks that learn: distillation from the original without labels, fine-tuning with them."""

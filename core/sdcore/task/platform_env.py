"""The six names of the platform's environment table, and the settings they stand for."""

PLATFORM_ENV: dict[str, str] = {
    "resolution": "resolution",
    "batch_size": "train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "max_train_steps": "max_train_steps",
    "lr": "learning_rate",
    "max_grad_norm": "max_grad_norm",
}

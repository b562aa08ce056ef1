"""What is learnt: losses, samplers, model, augmentation, schedules, learning-rate range test, fit loop."""

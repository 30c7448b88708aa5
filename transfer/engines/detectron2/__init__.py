"""Detectron2: R-CNNs trained in our loop by its model, solver, transforms and evaluator."""

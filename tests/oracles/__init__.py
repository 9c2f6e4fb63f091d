"""Independent NumPy transcriptions, written from the formulas and importing none of our code.

samplers    one step of SGD, RMSProp, SGLD, pSGLD, Adam and its optimistic form
algorithms  the named algorithms
sampled     the sample-based ones among them
payoff      a non-linear payoff with its gradients by hand
gan         multilayer perceptrons, GAN losses and penalties, with their gradients by hand
moments     stationary moments of Langevin chains on quadratics
"""

"""`nephra bench nnunet`: nephra beside stock nnU-Net, on the same input and bundle."""

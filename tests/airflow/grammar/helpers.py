"""What lies beside a DAG file and is imported by it."""


def doubled(x):
    return 2 * x


class Scaler:
    def __init__(self, factor):
        self.factor = factor

    def scaled(self, x):
        return self.factor * x

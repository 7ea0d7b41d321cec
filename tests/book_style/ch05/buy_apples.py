"""Chapter 5: a bill as a graph of multiplications and additions."""


class MulLayer:
    def forward(self, x, y):
        self.x, self.y = x, y
        return x * y

    def backward(self, dout):
        return dout * self.y, dout * self.x


class AddLayer:
    def forward(self, x, y):
        return x + y

    def backward(self, dout):
        return dout, dout


apples, oranges, fruit, tax = MulLayer(), MulLayer(), AddLayer(), MulLayer()
total = fruit.forward(apples.forward(100, 2), oranges.forward(150, 3))
print(tax.forward(total, 1.1))
d_total, d_tax = tax.backward(1)
d_apples, d_oranges = fruit.backward(d_total)
print(d_total, d_tax, apples.backward(d_apples), oranges.backward(d_oranges))

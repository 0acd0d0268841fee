module example.com/bookinfo/propagation

go 1.21

module cellar/driver

go 1.24

module cellar/theine

go 1.24

require (
	cellar/driver v0.0.0
	github.com/Yiling-J/theine-go v0.6.3
)

require (
	github.com/klauspost/cpuid/v2 v2.0.9 // indirect
	github.com/zeebo/xxh3 v1.0.2 // indirect
	golang.org/x/sys v0.8.0 // indirect
)

replace cellar/driver => ../lib/go

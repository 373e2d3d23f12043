// SPDX-License-Identifier: MIT
//
// Driver for theine-go (adaptive W-TinyLFU). Its loading cache is another type, which the stampede
// opens; everything else runs on the plain one.
package main

import (
	"context"
	"sync"

	"cellar/driver"
	"github.com/Yiling-J/theine-go"
)

type peer struct {
	c      *theine.Cache[string, []byte]
	cfg    driver.Cfg
	once   sync.Once
	loads  *theine.LoadingCache[string, []byte]
	flight sync.Map // key -> func() []byte of the running stampede
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func open(cfg driver.Cfg) driver.Peer {
	most := int64(cfg.Room())
	if cfg.Bytes != 0 {
		most = int64(cfg.Bytes)
	}
	return &peer{c: must(theine.NewBuilder[string, []byte](most).Build()), cfg: cfg}
}

func (p *peer) Get(key string) ([]byte, bool) { return p.c.Get(key) }
func (p *peer) Set(key string, value []byte) bool {
	cost := int64(1)
	if p.cfg.Bytes != 0 {
		cost = int64(len(key) + len(value))
	}
	if p.cfg.TTL != 0 {
		return p.c.SetWithTTL(key, value, cost, p.cfg.TTL)
	}
	return p.c.Set(key, value, cost)
}
func (p *peer) Del(key string) { p.c.Delete(key) }
func (p *peer) Count() uint64 { p.c.Wait(); return uint64(p.c.Len()) }
func (p *peer) Accounted() uint64 {
	if p.cfg.Bytes == 0 {
		return 0
	}
	return uint64(p.c.EstimatedSize())
}
func (p *peer) Settle() { p.c.Wait() }
func (p *peer) Close()  { p.c.Close() }

func (p *peer) Load(key string, f func() []byte) []byte {
	p.once.Do(func() {
		p.loads = must(theine.NewBuilder[string, []byte](int64(p.cfg.Room())).Loading(
			func(_ context.Context, key string) (theine.Loaded[[]byte], error) {
				f, _ := p.flight.Load(key)
				return theine.Loaded[[]byte]{Value: f.(func() []byte)(), Cost: 1}, nil
			}).Build())
	})
	p.flight.Store(key, f)
	v, _ := p.loads.Get(context.Background(), key)
	return v
}

func main() {
	driver.Run(driver.Info{Name: "theine", Module: "github.com/Yiling-J/theine-go",
		Caps: "entries bytes ttl load", Open: open})
}

// Package suite names packages of other modules whose tests run against a store.
package suite

// What other modules' tests need is among this module's requirements by these names.
import (
	_ "go.etcd.io/etcd/server/v3/embed"
	_ "k8s.io/apiserver/pkg/storage/cacher"
	_ "k8s.io/apiserver/pkg/storage/etcd3"
	_ "k8s.io/apiserver/pkg/storage/etcd3/testserver"
)

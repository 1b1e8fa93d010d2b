// Package testserver takes the place of the package of this name in k8s.io/apiserver when its tests run here: what they
// call an embedded etcd is a process of `raftsman store`.
package testserver

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"

	"raftsman.example/etcd-clients/member"
)

// NewTestConfig is what tests change settings in; only those that they change are looked at.
func NewTestConfig(t testing.TB) *embed.Config {
	return embed.NewConfig()
}

// RunEtcd starts a member with these settings, until the test ends.
func RunEtcd(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	t.Helper()
	var flags []string
	if cfg != nil && cfg.WatchProgressNotifyInterval != 0 {
		flags = append(flags, "--watch-progress-notify-interval", cfg.WatchProgressNotifyInterval.String())
	}
	members := member.Cluster(t, 1, flags...)
	client, err := kubernetes.New(clientv3.Config{
		Endpoints:   member.Endpoints(members),
		DialTimeout: 10 * time.Second,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	recorder := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV = storagetesting.NewKVRecorder(client.KV, recorder)
	client.Kubernetes = recorder
	return client
}

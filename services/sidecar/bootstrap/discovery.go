package bootstrap

import (
	"errors"
	"fmt"
	"path/filepath"

	admin "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	envoyroute "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Discovered is what an Envoy reads from files and follows when they change, with no restart and no control plane.
type Discovered struct {
	Clusters  []*cluster.Cluster
	Listeners []*listener.Listener
	// Routes are by the name of their listener.
	Routes map[string]*envoyroute.RouteConfiguration
}

// Files of Discovered in the folder that Discover is given.
const (
	ClustersFile  = "clusters.json"
	ListenersFile = "listeners.json"
)

// RoutesFile is the name of the file with the routes of a listener.
func RoutesFile(listener string) string { return "routes-" + listener + ".json" }

// Discover takes out of a bootstrap what changes with the mesh, and has Envoy read it from files in the folder. Rules of
// access move from the listeners to the routes: a listener that changes keeps its open connections under the old rules,
// while routes act on the next request. The cluster that takes spans stays.
func Discover(b *admin.Bootstrap, folder string) (*Discovered, error) {
	out := &Discovered{Listeners: b.StaticResources.Listeners, Routes: make(map[string]*envoyroute.RouteConfiguration)}
	var static []*cluster.Cluster
	for _, c := range b.StaticResources.Clusters {
		if c.Name == collectorCluster {
			static = append(static, c)
		} else {
			out.Clusters = append(out.Clusters, c)
		}
	}
	for _, l := range out.Listeners {
		routes, err := discoverRoutes(l, filepath.Join(folder, RoutesFile(l.Name)))
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
		out.Routes[l.Name] = routes
	}
	b.StaticResources = &admin.Bootstrap_StaticResources{Clusters: static}
	b.DynamicResources = &admin.Bootstrap_DynamicResources{
		CdsConfig: fromFile(filepath.Join(folder, ClustersFile)), LdsConfig: fromFile(filepath.Join(folder, ListenersFile)),
	}
	return out, nil
}

func fromFile(path string) *core.ConfigSource {
	return &core.ConfigSource{
		ResourceApiVersion:    core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_PathConfigSource{PathConfigSource: &core.PathConfigSource{Path: path}},
	}
}

// discoverRoutes has the listener read its routes from the file, and returns them.
func discoverRoutes(l *listener.Listener, file string) (*envoyroute.RouteConfiguration, error) {
	filter := l.FilterChains[0].Filters[0]
	manager := &hcm.HttpConnectionManager{}
	if err := filter.GetTypedConfig().UnmarshalTo(manager); err != nil {
		return nil, err
	}
	routes := manager.GetRouteConfig()
	routes.Name = l.Name
	manager.RouteSpecifier = &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{ConfigSource: fromFile(file), RouteConfigName: routes.Name}}
	if err := accessByRoutes(manager, routes); err != nil {
		return nil, err
	}
	packed, err := pack(manager)
	filter.ConfigType = &listener.Filter_TypedConfig{TypedConfig: packed}
	return routes, err
}

// accessByRoutes puts two filters without rules into the listener, for what is denied and what is allowed, and the rules
// of those that were there into the routes.
func accessByRoutes(manager *hcm.HttpConnectionManager, routes *envoyroute.RouteConfiguration) error {
	names := map[rbac.RBAC_Action]string{rbac.RBAC_DENY: "deny", rbac.RBAC_ALLOW: "allow"}
	empty, err := pack(&rbacfilter.RBAC{})
	if err != nil {
		return err
	}
	var filters []*hcm.HttpFilter
	for _, action := range []rbac.RBAC_Action{rbac.RBAC_DENY, rbac.RBAC_ALLOW} {
		filters = append(filters, &hcm.HttpFilter{Name: names[action], ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: empty}})
	}
	for _, f := range manager.HttpFilters {
		if !f.GetTypedConfig().MessageIs(&rbacfilter.RBAC{}) {
			filters = append(filters, f)
			continue
		}
		rules := &rbacfilter.RBAC{}
		if err := f.GetTypedConfig().UnmarshalTo(rules); err != nil {
			return err
		}
		packed, err := pack(&rbacfilter.RBACPerRoute{Rbac: rules})
		if err != nil {
			return err
		}
		if routes.TypedPerFilterConfig == nil {
			routes.TypedPerFilterConfig = make(map[string]*anypb.Any)
		}
		name := names[rules.GetRules().GetAction()]
		if _, twice := routes.TypedPerFilterConfig[name]; twice || name == "" {
			return errors.New("more than one filter of access with the same action")
		}
		routes.TypedPerFilterConfig[name] = packed
	}
	manager.HttpFilters = filters
	return nil
}

// Response writes resources as Envoy reads them from a file. Envoy tells in its statistics which version it has in
// force.
func Response[M proto.Message](version string, resources ...M) ([]byte, error) {
	out := &discovery.DiscoveryResponse{VersionInfo: version}
	for _, r := range resources {
		packed, err := pack(r)
		if err != nil {
			return nil, err
		}
		out.Resources = append(out.Resources, packed)
	}
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(out)
}

//! Whether this member serves, asked over gRPC.
//!
//! Source: gRPC `health/v1`; etcd `server/etcdserver/api/v3rpc/health.go`, which knows one service, that without a name.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::{Stream, iter, once};
use proto::health::health_check_response::ServingStatus;
use proto::health::health_server::Health as Service;
use proto::health::{HealthCheckRequest, HealthCheckResponse};
use tonic::{Request, Response, Status};

use crate::etcd::Front;

/// See the module.
pub(super) struct Health {
    pub(super) front: Front,
}

fn told(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Service for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        let leaving = self.front.store.ends().leaving.is_cancelled();
        Ok(Response::new(told(if leaving { ServingStatus::NotServing } else { ServingStatus::Serving })))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = request.get_ref().service.is_empty();
        let now = told(if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown });
        let leaving = self.front.store.ends().leaving.clone();
        let end = once(async move {
            leaving.cancelled().await;
            Ok(told(if known { ServingStatus::NotServing } else { ServingStatus::ServiceUnknown }))
        });
        Ok(Response::new(Box::pin(iter([Ok(now)]).chain(end))))
    }
}

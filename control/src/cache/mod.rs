//! The local replica's objects, decoded once and shared by controllers, the scheduler, the authorizer and the gateway.

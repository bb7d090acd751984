//! Error codes and statuses of S3, OSS, GCS, Azure and Swift, and what each means.

use http::StatusCode;

use super::Subject;

/// What an answer means, whoever gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No object there.
    Absent,
    /// No such upload.
    UploadAbsent,
    /// No such bucket.
    BucketAbsent,
    /// The condition does not hold.
    ConditionFailed,
    /// Two calls met; one may try again.
    Race,
    /// Not in this state.
    Conflict,
    /// No byte in the range.
    Range,
    /// Wrong credentials.
    Credentials,
    /// Credentials that were right once; a fresh signature may do.
    Expired,
    /// Refused without a reason, as expired credentials and others are in answers to `HEAD`.
    Unsaid,
    /// Right credentials that do not suffice.
    Denied,
    /// Wrong region.
    Region,
    /// Sent elsewhere.
    Redirected,
    /// The clocks differ.
    Clock,
    /// Fewer calls, please.
    Throttled,
    /// The store is at fault.
    Broken,
    /// The request's body came too slowly.
    SlowBody,
    /// A checksum says that the content was changed on its way.
    Damaged,
    /// No room.
    Full,
    /// Too large.
    TooLarge,
    /// The key cannot be kept.
    Name,
    /// The store has no such call.
    Unsupported,
    /// Not this kind of store.
    Endpoint,
    /// Anything else that is the caller's fault.
    Refused,
}

impl Verdict {
    /// Whether a write with this answer may have taken effect.
    pub(super) fn may_have_happened(self, status: StatusCode) -> bool {
        // 503 and 429 are given before anything is done; 500, 502 and 504 in the middle.
        matches!(self, Self::Broken) && status != StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The meaning of an answer.
pub(super) fn verdict(subject: Subject, status: StatusCode, code: &str, message: Option<&str>) -> Verdict {
    of_code(code, message.unwrap_or_default(), status, subject)
        .unwrap_or_else(|| of_status(subject, status, code))
}

/// Codes of all stores in one table: where two stores share a code they mean the same.
fn of_code(code: &str, message: &str, status: StatusCode, subject: Subject) -> Option<Verdict> {
    use Verdict::*;
    Some(match code {
        // S3, OSS, GCS' XML API.
        "NoSuchKey" => Absent,
        "NoSuchBucket" => BucketAbsent,
        "NoSuchUpload" => UploadAbsent,
        "PreconditionFailed" => ConditionFailed,
        // The last one is Azure's: an earlier attempt to copy is still at it.
        "ConditionalRequestConflict" | "OperationAborted" | "PendingCopyOperation" => Race,
        "SlowDown"
        | "ServiceUnavailable"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "BandwidthLimitExceeded"
        | "QpsLimitExceeded"
        | "DownloadTrafficRateLimitExceeded"
        | "UploadTrafficRateLimitExceeded"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "RequestThrottled" => Throttled,
        "InternalError" | "ServerNotInitialized" | "InternalServerError" => Broken,
        "RequestTimeout" => SlowBody,
        "RequestTimeTooSkewed" => Clock,
        "ExpiredToken" | "TokenRefreshRequired" | "RequestExpired" | "SecurityTokenExpired" => Expired,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "InvalidSecurityToken"
        | "InvalidSecurity"
        | "MissingSecurityHeader"
        | "AuthorizationQueryParametersError"
        | "NotSignedUp"
        | "UserDisable" => Credentials,
        "AccessDenied" if message.contains("expired") || message.contains("AccessTokenExpired") => Expired,
        // OSS tells so that the bucket is in another region.
        "AccessDenied" if message.contains("specified endpoint") => Region,
        "InvalidArgument" if message.contains("signing region") => Region,
        "SecondLevelDomainForbidden" => Endpoint,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "AccessForbidden" | "UserSuspended" => {
            Denied
        }
        "AuthorizationHeaderMalformed" if message.contains("region") => Region,
        "AuthorizationHeaderMalformed" => Credentials,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException"
        | "InvalidRegionName"
        | "InvalidRegion" => Region,
        "EntityTooLarge" | "MaxSizeExceeded" => TooLarge,
        "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "InvalidDigest"
        | "IncompleteBody"
        | "Md5Mismatch" => Damaged,
        "QuotaExceeded"
        | "InsufficientCapacity"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage"
        | "StorageQuotaExceeded"
        | "AccountQuotaExceeded" => Full,
        "InvalidRange" => Range,
        "KeyTooLong" | "KeyTooLongError" | "InvalidObjectName" | "XMinioInvalidObjectName" => Name,
        "NotImplemented" | "MethodNotAllowed" | "UnsupportedHeader" => Unsupported,
        "InvalidBucketName" => BucketAbsent,
        // OSS.
        "FileAlreadyExists" => ConditionFailed,
        "PositionNotEqualToLength"
        | "ObjectNotAppendable"
        | "FileImmutable"
        | "InvalidPart"
        | "InvalidPartOrder"
        | "EntityTooSmall" => Conflict,
        "AccessDeniedByBucketPolicy" => Denied,
        // GCS.
        "notFound" if subject == Subject::Object => Absent,
        "conditionNotMet" => ConditionFailed,
        "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" => Throttled,
        "backendError" | "internalError" => Broken,
        "authError" | "required" if status == StatusCode::UNAUTHORIZED => Credentials,
        "invalid_grant" | "invalid_client" | "unauthorized_client" | "invalid_token" => Credentials,
        "forbidden" | "insufficientPermissions" | "PERMISSION_DENIED" => Denied,
        "quotaExceeded" | "storageQuotaExceeded" => Full,
        // Azure.
        "BlobNotFound" | "ResourceNotFound" | "SourceBlobNotFound" | "CannotVerifyCopySource"
            if status == StatusCode::NOT_FOUND =>
        {
            Absent
        }
        "ContainerNotFound" | "ContainerDisabled" | "InvalidResourceName" => BucketAbsent,
        "ContainerBeingDeleted" => Broken,
        "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet" | "SourceConditionNotMet" => {
            ConditionFailed
        }
        "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => {
            if message.contains("expired") { Expired } else { Credentials }
        }
        // Azurite's word for a wrong signature.
        "AuthorizationFailure" if message.contains("failed to authenticate") => Credentials,
        "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "InsufficientAccountPermissions"
        | "AuthorizationProtocolMismatch"
        | "AuthorizationSourceIPMismatch"
        | "AuthorizationServiceMismatch"
        | "AuthorizationResourceTypeMismatch"
        | "PublicAccessNotPermitted"
        | "UnauthorizedBlobOverwrite"
        | "AccountIsDisabled"
        | "KeyBasedAuthenticationNotPermitted" => Denied,
        "ServerBusy" | "OperationTimedOut" => {
            if status.is_server_error() && code == "OperationTimedOut" {
                Broken
            } else {
                Throttled
            }
        }
        "LeaseIdMissing"
        | "LeaseIdMismatchWithBlobOperation"
        | "LeaseAlreadyPresent"
        | "LeaseLost"
        | "SnapshotsPresent"
        | "InvalidBlobType"
        | "BlobImmutableDueToPolicy" => Conflict,
        "Md5MismatchBlob" | "Crc64Mismatch" => Damaged,
        "RequestBodyTooLarge" | "BlockCountExceedsLimit" => TooLarge,
        "OutOfRangeInput" | "InvalidUri" if subject == Subject::Object => Name,
        _ => return None,
    })
}

fn of_status(subject: Subject, status: StatusCode, code: &str) -> Verdict {
    match status.as_u16() {
        301 | 302 | 303 | 307 | 308 => Verdict::Redirected,
        304 | 412 => Verdict::ConditionFailed,
        400 if subject == Subject::Bucket && code.is_empty() => Verdict::Endpoint,
        401 => Verdict::Credentials,
        403 => Verdict::Denied,
        404 | 410 => match subject {
            Subject::Object => Verdict::Absent,
            Subject::Upload => Verdict::UploadAbsent,
            Subject::Bucket => Verdict::BucketAbsent,
            Subject::Credentials => Verdict::Refused,
        },
        405 | 501 => Verdict::Unsupported,
        // The last one is Swift's: the content did not come whole.
        408 | 499 => Verdict::SlowBody,
        409 => Verdict::Conflict,
        413 => Verdict::TooLarge,
        416 => Verdict::Range,
        // Swift's word for a sum that does not fit.
        422 => Verdict::Damaged,
        // The middle one is Swift's.
        429 | 498 | 503 => Verdict::Throttled,
        507 => Verdict::Full,
        code if code >= 500 => Verdict::Broken,
        _ => Verdict::Refused,
    }
}
